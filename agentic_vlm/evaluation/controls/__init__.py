"""Control runs: what tools add and harm, what they cost, and what happens when they change."""
