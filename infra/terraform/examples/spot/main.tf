# Spot machines, and on-demand ones to fall back to: two classes, because AWS launches one at once only in a group that is purely
# the one or the other.
module "cloudfn" {
  source = "../.."

  bundle      = var.bundle
  environment = var.environment
  network     = { egress = "addresses", zones = 6 }
  protect     = var.protect
  region      = var.region

  machine_classes = {
    cpu-spot = {
      instance_types = ["m7i.xlarge", "m7a.xlarge", "m6i.xlarge", "m6a.xlarge", "m5.xlarge"]
      max_machines   = 50
      purchase       = "spot"
    }
    cpu = {
      instance_types = ["m7i.xlarge", "m7a.xlarge", "m6i.xlarge"]
      max_machines   = 10
    }
  }
}
