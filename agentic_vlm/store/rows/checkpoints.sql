select name, checkpoint_id, stage, parent, architecture, num_parameters, step, seed
from source_checkpoint
