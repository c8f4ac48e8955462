-- What do the columns of a table mean?
-- $table: name of a table, such as trajectories
select
    column_name,
    data_type,
    comment as meaning
from duckdb_columns()
where table_name = $table and not internal
order by column_index;
