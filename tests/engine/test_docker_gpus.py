"""GPUs on a daemon that has none: what it says is what the job's owner reads."""

from __future__ import annotations

from tests.engine.bench import scenario
from tests.engine.docker_yard import DockerYard


@scenario
async def test_a_daemon_without_nvidias_toolkit_cannot_start_a_job_with_gpus(docker_yard: DockerYard) -> None:
    async with docker_yard.bench(gpus=("GPU-1",)) as bench:
        assert bench.engine.capacity().gpus == ("GPU-1",)
        bench.launch("a", "true", gpus=("GPU-1",))
        ended = await bench.exited("a")
        assert not ended.started
        assert ended.reason is not None
        assert ended.reason.startswith("CannotStartContainerError: Error response from engine: ")
        assert "nvidia" in ended.reason


@scenario
async def test_a_job_without_gpus_sees_none_beside_others_that_have_some(docker_yard: DockerYard) -> None:
    async with docker_yard.bench(gpus=("GPU-1",)) as bench:
        bench.launch("a", 'test "$NVIDIA_VISIBLE_DEVICES" = void')
        assert (await bench.exited("a")).exit_code == 0
