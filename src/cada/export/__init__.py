"""What other trainers need to train with cada's prompts and reward. Imports without torch."""
