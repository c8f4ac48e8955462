select version from source_version
