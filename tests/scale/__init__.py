"""What a run folder of very many cells and runners costs: operations, times, a simulation."""
