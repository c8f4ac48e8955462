select run, step, seconds
from source_step
