-- Sorted, so that a look for one sample skips the rest.
select source, source_row_id, split, sample_id
from source_raw_sample
order by sample_id
