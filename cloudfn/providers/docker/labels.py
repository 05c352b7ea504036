"""Names of the labels by which images and containers are known as ours."""

from __future__ import annotations

#: digest of the spec that an image was made from
DIGEST_LABEL = "cloudfn.digest"
ENVIRONMENT_LABEL = "cloudfn.environment"
#: tells one environment's containers from those of all others
MARKER_LABEL = "cloudfn.marker"
