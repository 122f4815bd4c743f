"""The verb `propose`: which unlabelled pictures to label next."""
