# One class of small machines without GPUs. Nothing is billed by the hour while nothing runs:
# a machine has a public address instead of a NAT gateway beside it, and no port of it is open.
module "cloudfn" {
  source = "../.."

  bundle      = var.bundle
  environment = var.environment
  network     = { egress = "addresses" }
  protect     = var.protect
  region      = var.region

  machine_classes = {
    cpu = {
      instance_types = ["m7i.large", "m7a.large", "m6i.large"]
      max_machines   = 10
    }
  }
}
