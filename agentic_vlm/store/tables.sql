-- The tables of data/trajectories.duckdb: an index for people, rebuilt from the Parquet folders.
-- Keys that point to other tables are named like the column that they point to.

create table schema_version (version integer not null);
comment on table schema_version is 'One row: version of the records; `python -m stages.index` rebuilds the file after a change';
comment on column schema_version.version is 'SCHEMA_VERSION of agentic_vlm.schema';

create table runs (
    run_id varchar primary key,
    run varchar not null,
    started_at timestamp,
    wall_s double,
    cpu_s double,
    gpu_s double,
    peak_memory_mb double,
    num_in bigint,
    num_out bigint,
    seed bigint,
    params_digest varchar,
    git_revision varchar,
    host varchar
);
comment on table runs is 'Volatile: the latest run of each stage on this machine';
comment on column runs.run_id is 'Run and start time';
comment on column runs.run is 'Stage, with the member of its matrix: evaluate-base';
comment on column runs.started_at is 'Start, in UTC';
comment on column runs.wall_s is 'Seconds on the clock';
comment on column runs.cpu_s is 'CPU seconds, children included';
comment on column runs.gpu_s is 'Seconds on the clock times the GPUs that its process held; 0 without, null in older logs';
comment on column runs.peak_memory_mb is 'Largest resident memory, MiB, children excluded';
comment on column runs.num_in is 'Rows read; for attempt stages, samples times attempts';
comment on column runs.num_out is 'Rows written';
comment on column runs.seed is 'Root seed';
comment on column runs.params_digest is 'Digest of params.yaml';
comment on column runs.git_revision is 'Commit that was checked out; empty in a source archive';
comment on column runs.host is 'Machine';

create table timings (
    run varchar not null,
    step varchar not null,
    seconds double not null,
    primary key (run, step)
);
comment on table timings is 'Volatile: seconds per step of the latest runs; step `total` is the whole run';
comment on column timings.run is 'Stage, with the member of its matrix';
comment on column timings.step is 'Step of the stage, or total';
comment on column timings.seconds is 'Seconds on the clock';

create table call_timings (
    trajectory_id varchar not null,
    turn bigint not null,
    tool varchar not null,
    latency_s double not null,
    cost_usd double not null,
    run varchar not null,
    primary key (trajectory_id, turn)
);
comment on table call_timings is 'Volatile: seconds and price of each tool call that this machine made';
comment on column call_timings.trajectory_id is 'See trajectories';
comment on column call_timings.turn is 'See tool_calls';
comment on column call_timings.tool is 'Name as called; copied, so that a percentile needs no join';
comment on column call_timings.latency_s is 'Seconds on the clock, waiting for the sandbox or engine included';
comment on column call_timings.cost_usd is 'What services on the network charged, US dollars; tries that an outage ended included';
comment on column call_timings.run is 'Stage, with the member of its matrix: evaluate-base';

create table source_rows (
    source varchar not null,
    source_row_id varchar not null,
    split varchar not null,
    sample_id varchar not null,
    primary key (source, source_row_id, split)
);
comment on table source_rows is 'Rows of the sources; several of them may be one sample';
comment on column source_rows.source is 'Name of the source in params.yaml';
comment on column source_rows.source_row_id is 'Row within the source';
comment on column source_rows.split is 'train, or the name of the held-out suite';
comment on column source_rows.sample_id is 'See samples';

create table samples (
    sample_id varchar primary key,
    source varchar not null,
    source_row_id varchar not null,
    split varchar not null,
    family varchar not null,
    need varchar,
    template varchar not null,
    difficulty bigint,
    question varchar not null,
    answer varchar not null,
    answer_type varchar,
    num_images bigint not null,
    image_sha256 varchar[] not null,
    flags varchar[] not null,
    is_curated boolean not null,
    pool varchar
);
comment on table samples is 'Each question once: training rows and held-out suites';
comment on column samples.sample_id is 'Digest of question, answer and pictures';
comment on column samples.source is 'Name of the source';
comment on column samples.source_row_id is 'Row within the source; of equal samples, the first';
comment on column samples.split is 'train, or the name of the held-out suite';
comment on column samples.family is 'perception, reasoning, search, integration or text';
comment on column samples.need is 'direct or tool, for generated samples';
comment on column samples.template is 'Question template of a generated sample; else empty';
comment on column samples.difficulty is '0 to 3, for generated samples';
comment on column samples.question is 'The question';
comment on column samples.answer is 'The reference answer';
comment on column samples.answer_type is 'Grading rule; null before curate';
comment on column samples.num_images is 'Pictures of the question';
comment on column samples.image_sha256 is 'Their hashes, in order; see images';
comment on column samples.flags is 'RealX-Bench flags';
comment on column samples.is_curated is 'Whether curate kept it';
comment on column samples.pool is 'sft or rl; null where allocate put it in neither';

create table images (
    sha256 varchar primary key,
    media_type varchar not null,
    width_px bigint not null,
    height_px bigint not null,
    size_bytes bigint not null,
    folder varchar not null
);
comment on table images is 'Pictures; their bytes are in the Parquet files of `folder`';
comment on column images.sha256 is 'Digest of the encoded file';
comment on column images.media_type is 'Media type of the encoded file';
comment on column images.width_px is 'Width, px';
comment on column images.height_px is 'Height, px';
comment on column images.size_bytes is 'Size of the encoded file';
comment on column images.folder is 'Folder that holds it; of several, the first';

create table probes (
    sample_id varchar not null,
    mode varchar not null,
    attempt bigint not null,
    is_needed boolean not null,
    verdict varchar,
    answer varchar,
    stop_reason varchar,
    num_calls bigint not null,
    primary key (sample_id, mode, attempt)
);
comment on table probes is 'Attempts of the base policy';
comment on column probes.sample_id is 'See samples';
comment on column probes.mode is 'direct or agent';
comment on column probes.attempt is 'From 0';
comment on column probes.is_needed is 'False where early stopping made it unnecessary';
comment on column probes.verdict is 'correct, incorrect or ungraded; null where not needed';
comment on column probes.answer is 'Extracted answer';
comment on column probes.stop_reason is 'How the episode ended';
comment on column probes.num_calls is 'Tool calls';

create table trajectories (
    trajectory_id varchar primary key,
    sample_id varchar not null,
    stage varchar not null,
    policy varchar not null,
    mode varchar not null,
    protocol varchar not null,
    attempt bigint not null,
    seed bigint not null,
    stop_reason varchar not null,
    failure varchar not null,
    answer varchar,
    verdict varchar,
    num_turns bigint not null,
    num_calls bigint not null,
    num_failed_calls bigint not null,
    num_tokens bigint not null,
    is_selected boolean not null
);
comment on table trajectories is 'Finished episodes of every stage';
comment on column trajectories.trajectory_id is 'Digest of stage, policy, sample, mode and attempt';
comment on column trajectories.sample_id is 'See samples';
comment on column trajectories.stage is 'Stage that ran it';
comment on column trajectories.policy is 'Who acted: checkpoint_id, scripted:..., or a model name';
comment on column trajectories.mode is 'direct, think or agent';
comment on column trajectories.protocol is 'Turn grammar';
comment on column trajectories.attempt is 'From 0';
comment on column trajectories.seed is 'Seed of the episode';
comment on column trajectories.stop_reason is 'How it ended; infrastructure never counts as wrong';
comment on column trajectories.failure is 'Error text of an infrastructure failure';
comment on column trajectories.answer is 'Extracted answer';
comment on column trajectories.verdict is 'correct, incorrect or ungraded; null where not graded';
comment on column trajectories.num_turns is 'Assistant turns';
comment on column trajectories.num_calls is 'Tool calls';
comment on column trajectories.num_failed_calls is 'Calls answered with an error of the model''s making';
comment on column trajectories.num_tokens is 'Tokens that the policy wrote';
comment on column trajectories.is_selected is 'Whether select_sft kept it for the cold start';

create table turns (
    trajectory_id varchar not null,
    turn bigint not null,
    text varchar not null,
    action varchar not null,
    num_tokens bigint not null,
    observation varchar,
    observation_status varchar,
    image_sha256 varchar[] not null,
    primary key (trajectory_id, turn)
);
comment on table turns is 'Assistant messages and the observations that answer them';
comment on column turns.trajectory_id is 'See trajectories';
comment on column turns.turn is 'From 0';
comment on column turns.text is 'What the policy wrote, verbatim';
comment on column turns.action is 'tool_call, final_answer or parse_failure';
comment on column turns.num_tokens is 'Tokens that the policy wrote';
comment on column turns.observation is 'Text of the observation; null on the last turn';
comment on column turns.observation_status is 'ok, error, timeout, crashed or malformed';
comment on column turns.image_sha256 is 'Pictures of the observation; see images';

create table tool_calls (
    trajectory_id varchar not null,
    turn bigint not null,
    tool varchar not null,
    code varchar not null,
    arguments_json varchar not null,
    status varchar,
    error_class varchar,
    num_images bigint,
    num_chars bigint,
    num_dropped_chars bigint,
    primary key (trajectory_id, turn)
);
comment on table tool_calls is 'Tool calls; a turn makes at most one';
comment on column tool_calls.trajectory_id is 'See trajectories';
comment on column tool_calls.turn is 'See turns';
comment on column tool_calls.tool is 'python, search, image_search, or the unknown name that was called';
comment on column tool_calls.code is 'Code of a python call, verbatim';
comment on column tool_calls.arguments_json is 'Arguments of a search call';
comment on column tool_calls.status is 'What became of it; null where the episode ended first';
comment on column tool_calls.error_class is 'Name of the exception; empty where there is none';
comment on column tool_calls.num_images is 'Pictures handed back';
comment on column tool_calls.num_chars is 'Characters handed back';
comment on column tool_calls.num_dropped_chars is 'Characters cut off';

create table rollout_steps (
    trajectory_id varchar primary key,
    step bigint not null,
    policy_version bigint not null,
    group_id varchar not null,
    reward double,
    advantage double,
    num_prompt_tokens bigint not null,
    num_completion_tokens bigint not null,
    num_trained_tokens bigint not null
);
comment on table rollout_steps is 'Rollouts of the RL stage';
comment on column rollout_steps.trajectory_id is 'See trajectories';
comment on column rollout_steps.step is 'Optimiser step before which it was sampled';
comment on column rollout_steps.policy_version is 'Weight updates that the sampling policy had seen';
comment on column rollout_steps.group_id is 'Rollouts of one prompt and step share it';
comment on column rollout_steps.reward is 'Weighted reward; null where left out';
comment on column rollout_steps.advantage is 'Reward relative to its group; null where left out';
comment on column rollout_steps.num_prompt_tokens is 'Tokens of the prompt';
comment on column rollout_steps.num_completion_tokens is 'Tokens after the prompt, observations included';
comment on column rollout_steps.num_trained_tokens is 'Tokens that the policy sampled';

create table rewards (
    trajectory_id varchar not null,
    component varchar not null,
    value double not null,
    primary key (trajectory_id, component)
);
comment on table rewards is 'Parts of the reward before weighting; a part that is absent has no row';
comment on column rewards.trajectory_id is 'See trajectories';
comment on column rewards.component is 'accuracy or format';
comment on column rewards.value is 'Value before weighting';

create table evaluations (
    model varchar not null,
    suite varchar not null,
    mode varchar not null,
    sample_id varchar not null,
    trajectory_id varchar not null,
    family varchar not null,
    need varchar,
    difficulty bigint,
    flags varchar[] not null,
    verdict varchar not null,
    rule varchar not null,
    answer varchar,
    stop_reason varchar not null,
    num_calls bigint not null,
    num_failed_calls bigint not null,
    num_tokens bigint not null,
    primary key (model, suite, mode, sample_id)
);
comment on table evaluations is 'Graded answers of the models to the held-out suites';
comment on column evaluations.model is 'base, sft, rl, or the name of a recipe''s model';
comment on column evaluations.suite is 'Suite';
comment on column evaluations.mode is 'direct, think or agent';
comment on column evaluations.sample_id is 'See samples';
comment on column evaluations.trajectory_id is 'See trajectories';
comment on column evaluations.family is 'Family of the sample';
comment on column evaluations.need is 'direct or tool, for generated samples';
comment on column evaluations.difficulty is '0 to 3, for generated samples';
comment on column evaluations.flags is 'RealX-Bench flags';
comment on column evaluations.verdict is 'correct, incorrect or ungraded';
comment on column evaluations.rule is 'Grading rule that decided';
comment on column evaluations.answer is 'Extracted answer';
comment on column evaluations.stop_reason is 'How the episode ended';
comment on column evaluations.num_calls is 'Tool calls';
comment on column evaluations.num_failed_calls is 'Calls answered with an error of the model''s making';
comment on column evaluations.num_tokens is 'Tokens that the policy wrote';

create table rejections (
    stage varchar not null,
    row_id varchar not null,
    reason varchar not null,
    evidence varchar not null
);
comment on table rejections is 'Rows that a stage did not pass on';
comment on column rejections.stage is 'Stage that rejected it';
comment on column rejections.row_id is 'sample_id, trajectory_id or source:row';
comment on column rejections.reason is 'Why, from a closed list';
comment on column rejections.evidence is 'What was seen';

create table checkpoints (
    name varchar primary key,
    checkpoint_id varchar not null,
    stage varchar not null,
    parent varchar not null,
    architecture varchar not null,
    num_parameters bigint not null,
    step bigint not null,
    seed bigint not null
);
comment on table checkpoints is 'Models, from the cards beside their weights';
comment on column checkpoints.name is 'Folder under models/: base, sft, rl';
comment on column checkpoints.checkpoint_id is 'Digest of the model, trajectories.policy; training that moves no weight keeps it';
comment on column checkpoints.stage is 'Stage that made it, or hub for a published model';
comment on column checkpoints.parent is 'checkpoint_id that it started from; empty for the base';
comment on column checkpoints.architecture is 'Class name of the model';
comment on column checkpoints.num_parameters is 'All parameters';
comment on column checkpoints.step is 'Optimiser steps of its stage';
comment on column checkpoints.seed is 'Seed of its stage';

create table checkpoint_samples (
    name varchar not null,
    sample_id varchar not null,
    num_trajectories bigint not null,
    num_correct bigint not null,
    primary key (name, sample_id)
);
comment on table checkpoint_samples is 'What each checkpoint learned from, without what its parents did';
comment on column checkpoint_samples.name is 'See checkpoints';
comment on column checkpoint_samples.sample_id is 'See samples';
comment on column checkpoint_samples.num_trajectories is 'Trajectories of the sample: those that select_sft kept, or the rollouts of RL';
comment on column checkpoint_samples.num_correct is 'How many of them are correct';
