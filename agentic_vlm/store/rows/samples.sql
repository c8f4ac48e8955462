select
    sample_id, source, source_row_id, split, family, need, template, difficulty, question, answer,
    answer_type,
    cast(json_array_length(images) as bigint) as num_images,
    coalesce(images ->> '$[*].sha256', []) as image_sha256,
    flags,
    is_curated,
    case
        when starts_with(folder, 'data/pools/sft') then 'sft'
        when starts_with(folder, 'data/pools/rl') then 'rl'
    end as pool
from (
    select *, false as is_curated from source_raw_sample
    union all by name
    select *, true as is_curated from source_curated_sample
)
qualify row_number() over (
    partition by sample_id order by rank desc, source, source_row_id
) = 1
