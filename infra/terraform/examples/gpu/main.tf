# GPUs of two sizes, a few plain machines for everything else, private addresses, and an alarm when it gets expensive.
module "cloudfn" {
  source = "../.."

  bundle      = var.bundle
  environment = var.environment
  protect     = var.protect
  region      = var.region

  budget = {
    emails      = [var.budget_email]
    monthly_usd = 500
  }

  machine_classes = {
    cpu = {
      architecture   = "arm64"
      instance_types = ["m7g.large", "m6g.large"]
      max_machines   = 10
    }
    l4 = {
      disk_gib       = 200
      gpu            = true
      instance_types = ["g6.xlarge", "g6.2xlarge"]
      max_machines   = 8
    }
    h100 = {
      disk_gib        = 500
      deadman_minutes = 15
      gpu             = true
      instance_types  = ["p5.48xlarge"]
      max_machines    = 1
    }
  }
}
