# Machines, two of them kept warm, in subnets that exist already, everything encrypted with a key that exists already, and roles for those named alone.
module "cloudfn" {
  source = "../.."

  bundle      = var.bundle
  deployers   = var.deployers
  environment = var.environment
  invokers    = var.invokers
  kms_key_arn = var.kms_key_arn
  protect     = var.protect
  region      = var.region

  network = {
    existing = {
      subnet_ids = var.subnet_ids
      vpc_id     = var.vpc_id
    }
  }

  machine_classes = {
    cpu = {
      instance_types = ["m7i.large"] # of one type, as the warm pool asks for
      max_machines   = 5

      # Two machines are ready and stopped while none works: they come sooner, and bill their disks.
      warm_pool = { max_prepared = 2 }
    }
  }
}
