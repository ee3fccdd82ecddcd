"""A trainer of Lightning runs the checks after fit, tells its loggers, and is otherwise as without the callback."""

from __future__ import annotations

import csv
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from salsanity.errors import DataError, FailuresFound
from salsanity.integrations.findings import numbers
from salsanity.testing.networks import small_network, some_images

pytestmark = pytest.mark.filterwarnings("ignore")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    lightning: Any = pytest.importorskip(
        "lightning.pytorch", reason="the extra lightning is not installed"
    )

IMAGES = some_images(8)
LABELS = torch.arange(8) % 5
SMALL = {"methods": ["gradient"], "similarities": ["spearman"], "draws": 2, "max_images": 4}


class Classifier(lightning.LightningModule):  # type: ignore[misc, name-defined]
    def __init__(self) -> None:
        super().__init__()
        self.network = small_network()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.network(x)  # type: ignore[no-any-return]

    def training_step(self, batch: Any, index: int) -> torch.Tensor:
        x, y = batch
        loss = nn.functional.cross_entropy(self(x), y)
        self.log("loss", loss)
        return loss

    def validation_step(self, batch: Any, index: int) -> None:
        self.log("accuracy", (self(batch[0]).argmax(1) == batch[1]).double().mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 1e-3)


def fitted(folder: Path, *callbacks: Any, data: bool = True, **options: Any) -> Any:
    lightning.seed_everything(0, verbose=False)
    trainer = lightning.Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=lightning.loggers.CSVLogger(folder),
        callbacks=list(callbacks),
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        log_every_n_steps=1,
        **options,
    )
    module = Classifier()
    loader = DataLoader(TensorDataset(IMAGES, LABELS), batch_size=4)
    trainer.fit(module, loader, loader if data else None)
    return module


def checks(*given: Any, **options: Any) -> Any:
    from salsanity.integrations.lightning import SanityChecks

    return SanityChecks(*given, **{**SMALL, **options})


def test_the_cheap_checks_run_after_fit_and_their_numbers_are_logged(tmp_path: Path) -> None:
    callback = checks()
    fitted(tmp_path, callback)
    result = callback.result
    assert set(result.headlines["check"]) >= {"cascade", "class", "repeat", "shift"}
    assert result.folder.name == "salsanity"
    (file,) = tmp_path.rglob("metrics.csv")
    assert file.parent == result.folder.parent
    rows = list(csv.DictReader(file.open()))
    told = {k: float(v) for row in rows for k, v in row.items() if k.startswith("sals") and v}
    assert told == pytest.approx(numbers(result, prefix="salsanity"))


def test_the_trained_network_is_what_is_checked_and_is_left_alone(tmp_path: Path) -> None:
    callback = checks(IMAGES, checks="repeat", network=lambda module: module.network)
    module, plain = fitted(tmp_path / "a", callback), fitted(tmp_path / "b")
    for mine, other in zip(module.state_dict().values(), plain.state_dict().values(), strict=True):
        assert torch.equal(mine, other)
    assert callback.result.spec["model"]["name"] == "Classifier"
    assert not torch.equal(module.network[0].weight, small_network()[0].weight)
    from salsanity.units.identity import (
        print_of,  # the weights that were checked are the trained ones
    )

    assert print_of(module.network.state_dict()) != print_of(small_network().state_dict())


def test_a_second_fit_has_a_folder_of_its_own(tmp_path: Path) -> None:
    callback = checks(IMAGES, checks="repeat")
    (tmp_path / "lightning_logs" / "version_0" / "salsanity").mkdir(parents=True)
    from salsanity.integrations.lightning import _free_folder

    class Trainer:
        log_dir = str(tmp_path / "lightning_logs" / "version_0")

    assert _free_folder(Trainer()).name == "salsanity-2"
    assert callback.result is None


def test_failures_end_the_program_where_that_is_wanted(tmp_path: Path) -> None:
    callback = checks(IMAGES, checks="cascade", methods=[seen], draws=8, raise_for_failures=True)
    with pytest.raises(FailuresFound, match="seen"):
        fitted(tmp_path, callback)


def seen(model: nn.Module, x: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    model(x)
    return x.abs()


def test_without_images_it_says_what_to_do_and_a_dry_run_checks_nothing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"SanityChecks\(images\)"):
        fitted(tmp_path, checks(), data=False)
    callback = checks(IMAGES)
    fitted(tmp_path, callback, fast_dev_run=True)
    assert callback.result is None
