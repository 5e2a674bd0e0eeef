"""What a model would change in the clinic: decisions, abstention, small lesions, queues and costs."""
