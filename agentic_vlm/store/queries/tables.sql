-- Which tables are there, and what is one row of each?
select
    table_name as name,
    estimated_size as num_rows,
    comment as meaning
from duckdb_tables()
where not temporary
union all
select
    view_name,
    null,
    comment
from duckdb_views()
where not internal and not temporary
order by name;
