resource "aws_scheduler_schedule_group" "this" {
  name = var.name
}

resource "aws_iam_role" "scheduler" {
  description = "EventBridge Scheduler, for schedules of ${var.name}"
  name        = "${var.name}-scheduler"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "scheduler.amazonaws.com" }
      Action    = "sts:AssumeRole"
      # Schedules of another group, or of somebody else, do not get this role.
      Condition = {
        StringEquals = { "aws:SourceAccount" = var.account_id }
        ArnEquals    = { "aws:SourceArn" = "arn:${var.partition}:scheduler:${var.region}:${var.account_id}:schedule-group/${var.name}" }
      }
    }]
  })
}

resource "aws_iam_role_policy" "scheduler" {
  name = "schedules"
  role = aws_iam_role.scheduler.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid      = "Fire"
        Effect   = "Allow"
        Action   = "lambda:InvokeFunction"
        Resource = var.planner_arn
      },
      {
        Sid      = "ScaleByThemselves"
        Effect   = "Allow"
        Action   = "ssm:PutParameter"
        Resource = "arn:${var.partition}:ssm:${var.region}:${var.account_id}:parameter/cloudfn/${var.environment}/pools/*/scheduled"
      },
    ]
  })
}
