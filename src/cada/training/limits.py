"""What the log-probability passes hold at once. Imports without torch: the plan counts with it."""

# Rows of logits held at once: 512 × 49,152 in float32 are 100 MB.
LOGIT_ROWS = 512
# Probabilities that are kept for the gradient instead of being computed again, in bytes.
KEPT_BYTES = 256_000_000
