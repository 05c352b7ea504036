"""What cloudfn asks of AWS: counted on fakes, added up on paper."""
