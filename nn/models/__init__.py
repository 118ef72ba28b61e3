"""Networks of the paper in plain torch; ``nn.share`` takes them as it takes any other."""

from nn.models.resnet import ResNet, resnet20, resnet32, resnet44, resnet56
from nn.models.vgg import VGG, vgg11, vgg13, vgg16

__all__ = ["VGG", "ResNet", "resnet20", "resnet32", "resnet44", "resnet56", "vgg11", "vgg13", "vgg16"]
