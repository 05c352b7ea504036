# `terraform init && terraform test`, in infra/terraform: without an account, with a provider that is pretended.
# Nothing is applied, not even pretended: what holds data would refuse to go again.

mock_provider "aws" {
  mock_data "aws_caller_identity" {
    defaults = { account_id = "123456789012" }
  }

  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }

  mock_data "aws_availability_zones" {
    defaults = { names = ["eu-central-1a", "eu-central-1b", "eu-central-1c"] }
  }
}

variables {
  bundle      = "./tests/environment.tftest.hcl" # any file has a digest
  environment = "main"
  region      = "eu-central-1"

  machine_classes = {
    cpu = {
      instance_types = ["m7i.large"]
      max_machines   = 3
    }
  }
}

run "an_environment_is_made_and_says_where_it_is" {
  command = plan

  assert {
    condition     = aws_ssm_parameter.outputs.name == "/cloudfn/main/outputs"
    error_message = "A laptop would look for another parameter."
  }

  assert {
    condition     = output.outputs.machines.cpu.group == "cloudfn-main-cpu"
    error_message = "The planner would not find the group."
  }

  assert {
    condition     = output.outputs.queues.prefix == "cloudfn-main-" && output.outputs.log_group == "/cloudfn/main"
    error_message = "Queues or lines are somewhere else."
  }
}

run "a_change_of_classes_leaves_the_rest" {
  command = plan

  variables {
    machine_classes = {
      cpu = { instance_types = ["m7i.large"], max_machines = 3 }
      l4  = { instance_types = ["g6.xlarge"], max_machines = 1, gpu = true }
    }
  }

  assert {
    condition     = join(" ", keys(output.outputs.machines)) == "cpu l4"
    error_message = "Both classes should be there."
  }
}

run "a_class_with_a_warm_pool_is_of_one_type" {
  command = plan

  variables {
    machine_classes = {
      cpu = { instance_types = ["m7i.large"], max_machines = 3, warm_pool = { max_prepared = 2 } }
    }
  }

  assert {
    condition     = output.outputs.machines.cpu.disk_gib == 60
    error_message = "What a stopped machine costs would not be known."
  }
}

run "what_is_wrong_is_refused" {
  command = plan

  variables {
    environment     = "Main_1"
    kms_key_arn     = "arn:aws:kms:eu-central-1:123456789012:alias/mine"
    machine_classes = {}
    region          = "frankfurt"
  }

  expect_failures = [var.environment, var.kms_key_arn, var.machine_classes, var.region]
}
