"""Radio formulas: path loss, signal-to-noise ratio, rate, outage. Pure; scalars in, scalars out.

Source: Goldsmith, Wireless Communications, sections 2.6 (simplified path loss), 4.1 (capacity of
the AWGN channel) and 6.3.3 (outage under Rayleigh fading).
"""

import math


def linear(value_db: float) -> float:
    return math.pow(10.0, value_db / 10.0)


def path_loss_db(distance_m: float, reference_m: float, exponent: float) -> float:
    """Returns the loss relative to `reference_m`; distances below it count as it."""
    return 10.0 * exponent * math.log10(max(distance_m, reference_m) / reference_m)


def rate_bps(bandwidth_hz: float, snr_db: float) -> float:
    """Returns the capacity of a channel of that bandwidth at that signal-to-noise ratio."""
    return bandwidth_hz * math.log2(1.0 + linear(snr_db))


def rayleigh_outage(mean_snr_db: float, threshold_db: float) -> float:
    """Returns P(SNR < threshold) when the power gain is exponential with mean one."""
    return 1.0 - math.exp(-linear(threshold_db - mean_snr_db))
