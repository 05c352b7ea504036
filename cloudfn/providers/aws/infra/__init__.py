"""What makes, changes and removes an environment in an AWS account: `cloudfn infra`."""
