"""From images to features: patches, stacks of coding layers, a linear readout."""
