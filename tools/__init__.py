"""What the course's makers use; no notebook and no module of gptcore needs it."""
