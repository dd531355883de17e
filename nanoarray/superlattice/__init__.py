"""Paper A: grains of nanoparticle superlattices in SEM micrographs."""
