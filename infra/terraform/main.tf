data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

locals {
  account_id = data.aws_caller_identity.current.account_id
  partition  = data.aws_partition.current.partition

  name   = "cloudfn-${var.environment}"
  bucket = "${local.name}-${local.account_id}-${var.region}"
  sha256 = filesha256(var.bundle)
}

module "network" {
  source = "./modules/network"

  cidr                = var.network.cidr
  egress              = var.network.egress
  existing            = var.network.existing
  interface_endpoints = var.network.interface_endpoints
  name                = local.name
  region              = var.region
  zones               = var.network.zones
}

module "store" {
  source = "./modules/store"

  bucket      = local.bucket
  kms_key_arn = var.kms_key_arn
  name        = local.name
  protect     = var.protect
}

module "queues" {
  source = "./modules/queues"

  account_id  = local.account_id
  kms_key_arn = var.kms_key_arn
  name        = local.name
  partition   = local.partition
  region      = var.region
}

module "registry" {
  source = "./modules/registry"

  kms_key_arn = var.kms_key_arn
  protect     = var.protect
  repository  = "cloudfn/${var.environment}"
}

module "logs" {
  source = "./modules/logs"

  group          = "/cloudfn/${var.environment}"
  kms_key_arn    = var.kms_key_arn
  retention_days = var.log_retention_days
}

module "roles" {
  source = "./modules/roles"

  account_id  = local.account_id
  bucket      = local.bucket
  deployers   = var.deployers
  environment = var.environment
  invokers    = var.invokers
  kms_key_arn = var.kms_key_arn
  name        = local.name
  partition   = local.partition
  region      = var.region
}

# cloudfn itself, named by its digest: machines fetch it, and the planner is made of it.
resource "aws_s3_object" "bundle" {
  #checkov:skip=CKV_AWS_186:the bucket encrypts it, with kms_key_arn where there is one
  bucket      = module.store.bucket
  key         = "agent/${local.sha256}.zip"
  source      = var.bundle
  source_hash = local.sha256
}

module "planner" {
  source = "./modules/planner"

  environment        = var.environment
  kms_key_arn        = var.kms_key_arn
  log_retention_days = var.log_retention_days
  name               = local.name
  role_arn           = module.roles.arns["planner"]

  bundle = {
    bucket      = aws_s3_object.bundle.bucket
    key         = aws_s3_object.bundle.key
    hash_base64 = filebase64sha256(var.bundle)
  }
}

module "schedules" {
  source = "./modules/schedules"

  account_id  = local.account_id
  environment = var.environment
  name        = local.name
  partition   = local.partition
  planner_arn = module.planner.arn
  region      = var.region
}

module "machine_class" {
  source   = "./modules/machine_class"
  for_each = var.machine_classes

  architecture   = each.value.architecture
  disk_gib       = each.value.disk_gib
  environment    = var.environment
  gpu            = each.value.gpu
  image          = each.value.image
  instance_types = each.value.instance_types
  kms_key_arn    = var.kms_key_arn
  machine_class  = each.key
  max_machines   = each.value.max_machines
  name           = local.name
  purchase       = each.value.purchase
  role_name      = module.roles.names["agent"]
  subnet_ids     = module.network.subnet_ids
  tags           = var.tags
  vpc_id         = module.network.vpc_id
  warm_pool      = each.value.warm_pool

  boot = {
    bucket          = aws_s3_object.bundle.bucket
    deadman_minutes = each.value.deadman_minutes
    key             = aws_s3_object.bundle.key
    region          = var.region
    sha256          = local.sha256
  }
}

module "budget" {
  source = "./modules/budget"
  count  = var.budget == null ? 0 : 1

  emails      = var.budget.emails
  environment = var.environment
  monthly_usd = var.budget.monthly_usd
  name        = local.name
}

locals {
  outputs = {
    version       = 1
    account_id    = local.account_id
    bucket        = module.store.bucket
    bundle_sha256 = local.sha256
    environment   = var.environment
    kms_key       = var.kms_key_arn
    log_group     = module.logs.group
    machines      = { for name, class in module.machine_class : name => class.summary }
    planner       = module.planner.name
    queues        = module.queues.defaults
    region        = var.region
    repository    = module.registry.url
    roles         = module.roles.arns
    schedules     = { group = module.schedules.group, role_arn = module.schedules.role_arn }
    table         = module.store.table
  }
}

# Region and environment are all that a laptop needs to know: the rest it reads here.
resource "aws_ssm_parameter" "outputs" {
  #checkov:skip=CKV2_AWS_34:names and addresses; there is no secret in it
  description = "Where everything of cloudfn's ${var.environment} is. Written by Terraform."
  name        = "/cloudfn/${var.environment}/outputs"
  tier        = "Intelligent-Tiering"
  type        = "String"
  value       = jsonencode(local.outputs)
}
