"""What the devices of a scenario amount to before any of them has served anything."""

from emulator.scenario import schema


def nominal_moments(device: schema.Device) -> tuple[float, float]:
    """Returns E[S] in seconds and E[S^2] in seconds squared, per task alone in its batch."""
    accelerator, speed = device.accelerator, device.speed
    if isinstance(accelerator, schema.FittedAccelerator):
        mean_s, second_s2 = accelerator.service.mean_s, accelerator.service.second_moment_s2
    else:
        from models import latency

        mean_s, second_s2 = latency.moments(accelerator.model, 1, accelerator.engine)
    return mean_s / speed, second_s2 / speed**2


IMAGES = 500  # where no network says how many it was tested on


def images_of(chosen: schema.Scenario) -> int:
    """Returns how many images tasks are drawn from: those that every network was tested on.

    Networks that are swapped in later were tested on no fewer: checked with the scenario.
    """
    from models import zoo

    devices = [*chosen.servers, *(group.cpu for group in chosen.users if group.cpu is not None)]
    models = {
        name
        for device in devices
        if device.accelerator.kind != "fitted"
        for name in (device.accelerator.model, *device.accelerator.students)
    }
    return min((zoo.manifest(model).test_images for model in models), default=IMAGES)
