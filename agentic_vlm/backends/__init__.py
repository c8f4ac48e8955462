"""Who completes a prompt: scripted, over HTTP, or in this process."""
