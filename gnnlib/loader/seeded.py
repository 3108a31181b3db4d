"""Loaders whose batches carry their own seed, so that workers change nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sized
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from gnnlib.sparse.counter import child

__all__ = ["seed_of", "SeededIndex", "SeededLoader"]


class SeededIndex(list[int]):
    """The items of a batch, and the seed of what is drawn for them."""

    seed: int

    def __init__(self, items: Iterable[int], seed: int) -> None:
        super().__init__(items)
        self.seed = seed


def seed_of(inputs: Any, nodes: Tensor, seed: int | None) -> int:
    """The seed of a sample: what the batch carries; else what follows from the sampler's own and the nodes.

    A sampler without a seed draws one from torch's global generator.
    """
    given = getattr(inputs, "seed", None)
    if given is not None:
        return int(given)
    if seed is not None:
        digest = hashlib.blake2b(nodes.contiguous().numpy().tobytes(), digest_size=8).digest()
        return child(seed, int.from_bytes(digest, "little"))
    return int(torch.empty((), dtype=torch.int64).random_())


class _Numbers(Dataset[Any]):
    """The numbers from 0 on; a batch of them is handed on as it is, with its seed."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, item: Any) -> Any:
        return item

    def __getitems__(self, items: list[int]) -> list[int]:
        return items


class _Generator(torch.Generator):
    """A generator that goes to workers that are not forked; torch's own cannot."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (self.get_state().numpy().tobytes(),)


def _restored(state: bytes) -> _Generator:
    generator = _Generator()
    generator.set_state(torch.frombuffer(bytearray(state), dtype=torch.uint8))
    return generator


class _Batches:
    """The batches of a loader, each with a seed drawn in the main process."""

    def __init__(self, loader: SeededLoader, batches: Any) -> None:
        self.loader, self.batches = loader, batches

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[SeededIndex]:
        base = self.loader.next_epoch()
        for number, batch in enumerate(self.batches):
            yield SeededIndex([batch] if isinstance(batch, int) else batch, child(base, number))


class SeededLoader(DataLoader[Any]):
    """A torch data loader that gives every batch a seed; ``collate_fn`` gets a :class:`SeededIndex`.

    The seed of batch k of an epoch is a function of the epoch's number and k, so an epoch has the same
    batches for any number of workers, persistent ones too. Without ``seed`` it comes from ``generator``,
    or, as the order of a shuffled torch loader does, from torch's global generator.

    Args:
        dataset: of which only the length matters.
        seed: fixes the order of the items and all that is drawn, in every epoch.
        kwargs: of ``torch.utils.data.DataLoader``.

    Raises: ValueError when both ``seed`` and ``generator`` are given.
    """

    def __init__(self, dataset: Sized, *, seed: int | None = None, **kwargs: Any) -> None:
        if seed is not None:
            if kwargs.get("generator") is not None:
                raise ValueError(
                    f"{type(self).__name__}: seed={seed} and a generator were given; drop one of them"
                )
            kwargs["generator"] = _Generator()
        self.seed, self.epoch = seed, 0
        self._ready = False
        super().__init__(_Numbers(len(dataset)), **kwargs)

    @property
    def _index_sampler(self) -> Any:
        return _Batches(self, super()._index_sampler)

    def next_epoch(self) -> int:
        """Count an epoch and return the seed of its batches; from ``seed``, also wind the generator."""
        if self.seed is not None:
            assert self.generator is not None
            self.generator.manual_seed(child(self.seed, self.epoch) >> 1)
        self.epoch += 1
        return int(torch.empty((), dtype=torch.int64).random_(generator=self.generator))

    def _warm(self) -> None:
        """Draw something small, so that kernels are compiled before workers are forked."""

    def _get_iterator(self) -> Any:
        if self.num_workers > 0 and not self._ready and len(self.dataset) > 0:  # type: ignore[arg-type]
            self._warm()
            self._ready = True
        return super()._get_iterator()
