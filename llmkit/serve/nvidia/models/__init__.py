"""What is copied into a model repository: Triton's Python backend imports it there, and knows no llmkit."""
