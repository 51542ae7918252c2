"""A class task that does all that the engine relies on, and others that each lack one thing."""

import os

import torch


class RightTask:
    """Regression by SGD with momentum, on drawn inputs."""

    steps = 4

    def __init__(self, config, seed, worker):
        self.worker = worker
        self.generator = torch.Generator().manual_seed(seed)
        self.model = torch.nn.Linear(3, config["width"])
        self.wrapped = worker.wrap(self.model)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1, momentum=0.9)

    def advance(self):
        batch = self.worker.share(torch.randn(6, 3, generator=self.generator))
        loss = (self.wrapped(batch) - batch.sum(1, keepdim=True)).square().mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return {"loss": self.worker.sum(loss.detach()) / self.worker.world_size}

    def evaluate(self):
        return {"score": self.model.weight.sum()}

    def state_dict(self):
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
        }

    def load_state_dict(self, state):
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.generator.set_state(state["generator"])


class ForgetsMomentum(RightTask):
    def load_state_dict(self, state):
        super().load_state_dict(state | {"optimizer": self.optimizer.state_dict()})


class DrawsElsewhere(RightTask):
    def evaluate(self):
        return {"score": int.from_bytes(os.urandom(7))}


class CountsInItsState(RightTask):
    """Its state is read, and so training differs from a run whose state is not read."""

    def state_dict(self):
        torch.rand(1, generator=self.generator)
        return super().state_dict()


class SavesTheModel(RightTask):
    def state_dict(self):
        return {"model": self.model}


class TrainsApart(RightTask):
    def __init__(self, config, seed, worker):
        super().__init__(config, seed, worker)
        self.wrapped = self.model


class EndsApart(RightTask):
    @property
    def steps(self):
        return 4 - self.worker.rank


class RaisesApart(RightTask):
    def advance(self):
        if self.worker.rank == 1:
            raise ValueError("no such row")
        return super().advance()


class HasNoSteps(RightTask):
    steps = 0


class ReportsTexts(RightTask):
    def advance(self):
        return {"loss": "low"}


class Raises(RightTask):
    def advance(self):
        return {"loss": torch.ones(2) @ torch.ones(3)}


class EndsEarly(RightTask):
    done = 0

    def advance(self):
        self.done += 1
        return super().advance() if self.done < 3 else None
