"""One optimizer step of whole configurations on synthetic videos: memory, clips per second, and how close to the limit.

    python benchmarks/paper_step.py configs/method/vito.yaml configs/method/vivi-ex4.yaml --batch 2
    python benchmarks/paper_step.py configs/method/*.yaml --device cuda --batch 64 --precision bf16-mixed

Every configuration runs through `vssl fit` in a process of its own. "limit" is one forward and backward pass of the
bare encoder over as many frames as the step's first view has: what a step would take if views, teacher, heads and
optimizer cost nothing. Peak memory is the process's largest resident set on a CPU, the allocator's peak on a GPU.
The images of co-training are noise in two classes.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback


class Clock(Callback):
    """Seconds of the last step, and of the bare encoder on the same frames."""

    report: dict[str, Any] = {}  # noqa: RUF012  # one run per process; Lightning copies instances

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Start the clock."""
        _wait(pl_module)
        self.started = time.perf_counter()

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Stop it, note what the step was, and time the limit after the last step."""
        _wait(pl_module)
        seconds = time.perf_counter() - self.started
        Clock.report = {"step_s": seconds, "loss": float(outputs["loss"]), "peak_gib": _peak(pl_module)}
        if trainer.global_step == trainer.max_steps:
            Clock.report |= _limit(pl_module, batch)


def _limit(method: Any, batch: Any) -> dict[str, Any]:
    name = next(iter(method.recipe.views))
    view = method.view(batch, name)
    clips = view.flatten(0, view.ndim - 5)  # (..., T, C, H, W): all that is in front of T
    frames = method.backbone.input.frames
    if frames == 1:
        clips = clips.flatten(0, 1).unsqueeze(1)
    times = []
    for _ in range(method.trainer.max_steps):
        started = time.perf_counter()
        method.backbone(clips).square().mean().backward()
        _wait(method)
        times.append(time.perf_counter() - started)
    return {"clips": len(clips), "frames": clips.shape[1], "limit_s": min(times)}


def _wait(method: Any) -> None:
    if method.device.type == "cuda":
        import torch

        torch.cuda.synchronize()


def _peak(method: Any) -> float:
    if method.device.type == "cuda":
        import torch

        return torch.cuda.max_memory_allocated() / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def synthetic(folder: Path, *, videos: int, num_frames: int = 300) -> Path:
    """Ten-second videos of moving noise, 320 x 240 at 30 frames per second, and the images of co-training."""
    import av
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    for number in range(videos):
        path = folder / "videos" / "class" / f"{number:04d}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        big = rng.integers(0, 256, (60, 400, 3), dtype=np.uint8).repeat(4, 0).repeat(4, 1)  # 240 x 1600
        with av.open(str(path), "w") as out:
            stream = out.add_stream("mpeg4", rate=Fraction(30))
            stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
            for t in range(num_frames):
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(big[:, 4 * t : 4 * t + 320]), format="rgb24")
                out.mux(stream.encode(frame))
            out.mux(stream.encode(None))
    for number in range(4):
        image = folder / "images" / f"class{number % 2}" / f"{number}.png"
        image.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (256, 256, 3), dtype=np.uint8)).save(image)
    manifest = folder / "videos.csv"
    command = [
        sys.executable,
        "-m",
        "vssl",
        "data",
        "index",
        folder / "videos",
        "--dataset=folder",
        f"--out={manifest}",
    ]
    subprocess.run(command, check=True, capture_output=True)
    return manifest


def child(arguments: argparse.Namespace, manifest: Path) -> None:
    """Some steps of one configuration; the report goes to a file."""
    from paper_step import Clock as Registered

    from vssl.cli import fit

    (config,) = arguments.configs
    argv = ["-c", config, f"--data.manifest={manifest}", "--data.num_workers=0", f"--data.batch_size={arguments.batch}"]
    argv += [
        f"--trainer.max_steps={arguments.steps}",
        f"--trainer.accelerator={arguments.device}",
        "--trainer.devices=1",
    ]
    argv += [f"--trainer.precision={arguments.precision}", "--trainer.callbacks+=paper_step.Clock"]
    argv += ["--trainer.logger=false", "--trainer.enable_checkpointing=false", "--trainer.enable_progress_bar=false"]
    argv += [f"--run_dir={manifest.parent / Path(config).stem}", *arguments.also]
    if "images:" in Path(config).read_text().partition("data:")[2]:
        argv += [
            f"--data.images.root={manifest.parent / 'images'}",
            "--data.images.fraction=1.0",
            "--model.co.classes=2",
        ]
    fit.run(argv)
    manifest.with_name("report.json").write_text(json.dumps(Registered.report))


def main() -> None:
    """Run every configuration, print a line each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("configs", nargs="+")
    parser.add_argument("--batch", type=int, default=2, help="videos")
    parser.add_argument("--steps", type=int, default=2, help="the last one counts: the first pays for warming up")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--precision", default="32-true")
    parser.add_argument("--also", action="append", default=[], metavar="FLAG", help="a further flag of vssl fit")
    parser.add_argument("--manifest", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.manifest:
        child(arguments, arguments.manifest)
        return
    with tempfile.TemporaryDirectory() as folder:
        manifest = synthetic(Path(folder), videos=arguments.steps * arguments.batch)
        print(f"{'configuration':44} {'batch':>5} {'step s':>7} {'clips/s':>8} {'peak GiB':>8} {'step / limit':>12}")
        for config in arguments.configs:
            command = [sys.executable, *sys.argv[:1], config, f"--batch={arguments.batch}", f"--manifest={manifest}"]
            command += [
                f"--device={arguments.device}",
                f"--precision={arguments.precision}",
                f"--steps={arguments.steps}",
            ]
            done = subprocess.run(
                [*command, *(f"--also={flag}" for flag in arguments.also)], capture_output=True, text=True
            )
            if done.returncode:
                print(f"{config:44} failed: {(done.stderr.strip().splitlines() or ['?'])[-1]}")
                continue
            r = json.loads(manifest.with_name("report.json").read_text())
            rate, ratio = r["clips"] / r["step_s"], r["step_s"] / r["limit_s"]
            shown = f"{r['step_s']:7.2f} {rate:8.2f} {r['peak_gib']:8.2f} {ratio:12.2f}"
            print(f"{config:44} {arguments.batch:5d} {shown}", flush=True)


if __name__ == "__main__":
    main()
