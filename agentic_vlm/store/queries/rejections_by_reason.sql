-- How many rows did each stage leave out, and why?
select
    stage,
    reason,
    count(*) as num_rows,
    min(row_id) as example_row_id
from rejections
group by stage, reason
order by stage, num_rows desc, reason;
