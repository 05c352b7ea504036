locals {
  full_name = "${var.name}-${var.machine_class}"

  # Amazon's images for containers: Docker is there, and the driver in the one for GPUs. EC2 looks the id up at each launch.
  recommended = "resolve:ssm:/aws/service/ecs/optimized-ami/amazon-linux-2023/%srecommended/image_id"
  image       = coalesce(var.image, format(local.recommended, var.gpu ? "gpu/" : var.architecture == "arm64" ? "arm64/" : ""))

  tags = merge(var.tags, {
    "Name"                  = local.full_name
    "cloudfn:environment"   = var.environment
    "cloudfn:machine-class" = var.machine_class
  })

  boot = templatefile("${path.module}/user-data.yaml.tftpl", merge(var.boot, {
    boot_py       = base64encode(file("${path.module}/boot.py"))
    environment   = var.environment
    machine_class = var.machine_class
  }))

  # Of one type alone: Auto Scaling keeps no warm pool of others.
  warm = var.warm_pool != null
}

# Nothing may come in. The agent asks; nobody asks it.
resource "aws_security_group" "machines" {
  #checkov:skip=CKV2_AWS_5:the launch template attaches it
  #checkov:skip=CKV_AWS_382:functions may call whom they like; what may come in is what this group is about
  description = "Machines of ${local.full_name}: nothing comes in"
  name        = local.full_name
  vpc_id      = var.vpc_id

  egress {
    cidr_blocks = ["0.0.0.0/0"]
    description = "To the services of AWS, and to whatever functions call"
    from_port   = 0
    protocol    = "-1"
    to_port     = 0
  }
}

resource "aws_iam_instance_profile" "machines" {
  name = local.full_name
  role = var.role_name
}

resource "aws_launch_template" "machines" {
  image_id                             = local.image
  instance_initiated_shutdown_behavior = "terminate"
  instance_type                        = local.warm ? var.instance_types[0] : null
  name                                 = local.full_name
  update_default_version               = true
  user_data                            = base64encode(local.boot)
  vpc_security_group_ids               = [aws_security_group.machines.id]

  block_device_mappings {
    device_name = "/dev/xvda"

    ebs {
      delete_on_termination = "true"
      encrypted             = "true"
      kms_key_id            = var.kms_key_arn
      volume_size           = var.disk_gib
      volume_type           = "gp3"
    }
  }

  iam_instance_profile {
    name = aws_iam_instance_profile.machines.name
  }

  # One hop: an answer does not reach a container, which would be the second.
  metadata_options {
    http_endpoint               = "enabled"
    http_put_response_hop_limit = 1
    http_tokens                 = "required"
  }

  monitoring {
    enabled = false
  }

  dynamic "tag_specifications" {
    for_each = toset(["instance", "volume"])

    content {
      resource_type = tag_specifications.value
      tags          = local.tags
    }
  }
}

resource "aws_autoscaling_group" "machines" {
  #checkov:skip=CKV_AWS_315:the launch template is in one of two dynamic blocks
  capacity_rebalance        = var.purchase == "spot"
  desired_capacity          = 0
  health_check_grace_period = 0
  health_check_type         = "EC2"
  max_size                  = var.max_machines
  min_size                  = 0
  name                      = local.full_name
  protect_from_scale_in     = true
  suspended_processes       = ["AZRebalance"]
  vpc_zone_identifier       = var.subnet_ids
  wait_for_capacity_timeout = "0"

  dynamic "mixed_instances_policy" {
    for_each = local.warm ? [] : [aws_launch_template.machines.id]

    content {
      instances_distribution {
        on_demand_allocation_strategy            = "prioritized"
        on_demand_base_capacity                  = 0
        on_demand_percentage_above_base_capacity = var.purchase == "spot" ? 0 : 100
        spot_allocation_strategy                 = "capacity-optimized-prioritized"
      }

      launch_template {
        launch_template_specification {
          launch_template_id = mixed_instances_policy.value
          version            = "$Default"
        }

        dynamic "override" {
          for_each = var.instance_types

          content {
            instance_type = override.value
          }
        }
      }
    }
  }

  dynamic "launch_template" {
    for_each = local.warm ? [aws_launch_template.machines.id] : []

    content {
      id      = launch_template.value
      version = "$Default"
    }
  }

  # Its machines are stopped once their agents have answered the hook "join"; the planner ends none of them.
  dynamic "warm_pool" {
    for_each = var.warm_pool[*]

    content {
      max_group_prepared_capacity = warm_pool.value.max_prepared
      min_size                    = warm_pool.value.min_size
      pool_state                  = warm_pool.value.state
    }
  }

  dynamic "tag" {
    for_each = local.tags

    content {
      key                 = tag.key
      propagate_at_launch = true
      value               = tag.value
    }
  }

  # The planner owns the number.
  lifecycle {
    ignore_changes = [desired_capacity]
  }
}

# A machine that has not joined, or is not ready to be put aside, in ten minutes goes.
resource "aws_autoscaling_lifecycle_hook" "launch" {
  autoscaling_group_name = aws_autoscaling_group.machines.name
  default_result         = "ABANDON"
  heartbeat_timeout      = 600
  lifecycle_transition   = "autoscaling:EC2_INSTANCE_LAUNCHING"
  name                   = "join"
}

# Whoever ends a machine, its agent gets time to drain; it asks for more by heartbeats.
resource "aws_autoscaling_lifecycle_hook" "terminate" {
  autoscaling_group_name = aws_autoscaling_group.machines.name
  default_result         = "CONTINUE"
  heartbeat_timeout      = 120
  lifecycle_transition   = "autoscaling:EC2_INSTANCE_TERMINATING"
  name                   = "drain"
}
