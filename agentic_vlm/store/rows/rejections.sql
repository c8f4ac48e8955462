select stage, row_id, reason, evidence
from source_rejection
