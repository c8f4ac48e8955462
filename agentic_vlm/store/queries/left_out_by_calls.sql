-- Do infrastructure failures hit episodes with many calls more often?
select
    stage,
    num_calls,
    count(*) as num_episodes,
    count(*) filter (stop_reason = 'infrastructure') as num_left_out,
    round(avg((stop_reason = 'infrastructure')::integer), 3) as left_out_share
from trajectories
group by stage, num_calls
order by stage, num_calls;
