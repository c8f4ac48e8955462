select source, source_row_id, split, sample_id
from source_raw_sample
