"""What the model may call, and the texts that it gets back."""
