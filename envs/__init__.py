"""What acts, what is seen and what is recorded: arms, simulation, tasks and episodes; imports no torch."""
