"""Every test runs on one thread, so that numbers repeat and cores are not fought over."""

import torch

torch.set_num_threads(1)
