"""Deploys: what one will do, as data, and carrying it out."""
