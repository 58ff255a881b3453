"""Sparse codes of samples in a dictionary: X ~ codes @ D.T."""

from baselines.pursuit.encode import METHODS as METHODS
from baselines.pursuit.encode import ConvergenceWarning as ConvergenceWarning
from baselines.pursuit.encode import Encoding as Encoding
from baselines.pursuit.encode import encode as encode
from baselines.pursuit.encode import encode_blocks as encode_blocks
