import torch
from torch import nn

from maskwright.models.encoder_unet import EncoderUNet
from maskwright.models.unet import UNet
from maskwright.training.freezing import hold, in_finest_levels, pretrained_layers


def names_of(network: nn.Module, layers: tuple[nn.Module, ...]) -> set[str]:
    return {name for name, module in network.named_modules() if any(module is layer for layer in layers)}


def test_the_way_down_of_both_networks_is_found() -> None:
    for network, parts in ((EncoderUNet(), {"encoder"}), (UNet(base_channels=8, depth=2), {"stem", "downs"})):
        layers = pretrained_layers(network)
        assert {name.partition(".")[0] for name in names_of(network, layers)} == parts
        found = {id(parameter) for layer in layers for parameter in layer.parameters()}
        assert found == {id(p) for name, p in network.named_parameters() if name.partition(".")[0] in parts}


def test_layers_that_start_afresh_are_not_among_them() -> None:
    network = UNet(base_channels=8, depth=1)
    whole, without = (pretrained_layers(network, fresh) for fresh in ((), ("stem.0.weight", "head.bias")))
    assert names_of(network, whole) - names_of(network, without) == {"stem.0"}


def test_held_layers_keep_weights_and_statistics_until_they_are_let_go() -> None:
    network = UNet(base_channels=8, depth=1).train()
    layers = pretrained_layers(network)
    hold(layers, held=True)
    network(torch.rand(2, 3, 16, 16)).sum().backward()
    assert all(parameter.grad is None for layer in layers for parameter in layer.parameters())
    assert all(parameter.grad is not None for parameter in network.ups.parameters())
    assert network.state_dict()["stem.1.num_batches_tracked"] == 0
    assert network.state_dict()["ups.0.conv.1.num_batches_tracked"] == 1
    hold(layers, held=False)
    network(torch.rand(2, 3, 16, 16)).sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
    assert network.state_dict()["stem.1.num_batches_tracked"] == 1


def test_the_finest_levels_of_an_encoder_are_those_before_their_maps() -> None:
    network = EncoderUNet(base_channels=8)
    layers = pretrained_layers(network)
    for levels, parts in ((0, set()), (1, {"stem", "stages.0"}), (2, {"stem", "stages.0", "stages.1"})):
        held, others = in_finest_levels(network, layers, levels)
        assert len(held) + len(others) == len(layers)
        found = {".".join(name.split(".")[1:3]) for name in names_of(network, held)}
        assert {"stem" if name.startswith("stem") else name for name in found} == parts


def test_levels_with_fresh_weights_are_not_held() -> None:
    network = EncoderUNet(base_channels=8)
    layers = pretrained_layers(network, fresh={"encoder.stem.0.weight"})
    assert in_finest_levels(network, layers, 1) == ((), layers)
    classic = UNet(base_channels=8, depth=1)
    assert in_finest_levels(classic, pretrained_layers(classic), 2)[0] == ()
