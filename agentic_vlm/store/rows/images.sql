select sha256, media_type, width_px, height_px, size_bytes, folder
from source_image
qualify row_number() over (partition by sha256 order by rank) = 1
