"""What am I seeing? Two to four plain sentences for every process, noise law, head, sampler and guidance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from suite.laboratory.operations import Experiment

TRUTHS: Final[Mapping[str, str]] = {
    "three-parts": "Three round clouds of unequal weight. A good run fills all three in the proportion 5 : 3 : 2.",
    "correlated": "One tilted Gaussian. Its denoiser is a straight line, so every mean and covariance can be computed "
    "without sampling: here the charts have no noise of their own.",
    "ring": "A ring made of 24 touching clouds. A blurred run fills its middle, where no data is.",
    "lattice": "Twenty-five narrow clouds. They are easily blurred into one another, or filled unevenly.",
    "moons": "Two half moons of 200 points in all. The exact answer for a finite set ends exactly on its points: a "
    "perfect network would only repeat its data.",
    "roll": "A spiral of 200 points. The exact answer for a finite set ends exactly on its points: a perfect network "
    "would only repeat its data.",
}

PROCESSES: Final[Mapping[str, str]] = {
    "vp-cosine": "Variance preserving, x_t = a x0 + sigma n with a² + sigma² = 1: data fades while noise grows, and "
    "the cloud keeps its size. The cosine table spends many levels where the picture is still visible. Its last "
    "levels are almost pure noise.",
    "vp-linear": "Variance preserving, x_t = a x0 + sigma n with a² + sigma² = 1, under the table of 1000 levels of "
    "the first diffusion models. Data fades while noise grows, and most levels are spent in strong noise.",
    "vp-angle": "Variance preserving with a = cos and sigma = sin of one angle: the state turns from data to noise. "
    "Both ends are exact, so at the noisy end the state says nothing of the data.",
    "ve": "Variance exploding, x_t = x0 + sigma n: the data stays and noise is heaped on it, up to 50 times its "
    "size, in equal steps of log(sigma). The drawing shrinks the states so that they fit.",
    "edm": "x_t = x0 + t n: the clock is the noise level itself, up to 80. Equal steps of this clock waste nearly all "
    "of themselves on strong noise; try the spacing karras. The drawing shrinks the states so that they fit.",
    "flow": "x_t = (1 - t) x0 + t n: each sample is drawn on a straight line from noise to data. The paths of a run "
    "still bend, because at one place many lines cross and a network can only say their mean.",
    "mean-reverting": "Data drifts to the known end y = (1.5, -1.5) and meets a little noise on the way. A run starts "
    "as a small cloud around y, not from pure noise.",
    "residual-shift": "Data is shifted to the known end y = (1.5, -1.5) in 15 levels while noise grows to twice the "
    "data's size (ResShift). y enters every step, so a run is told where its data went.",
    "bridge": "A Brownian bridge between data and the known end y = (1.5, -1.5): noise is largest half-way and zero at "
    "both ends. All paths leave from the one point y, so only fresh noise can part them.",
}

LAWS: Final[Mapping[str, str]] = {
    "gaussian": "",
    "student-t": "The noise has heavy tails (Student-t, {dof} degrees of freedom, the kernel of PFGM++): now and then "
    "a start lies far outside. The paths follow the same equation, but there is no Gaussian score, hence no sampler "
    "with fresh noise.",
}

HEADS: Final[Mapping[str, str]] = {
    "x0": "The network says the clean value. That stands at every level; near the end, where state and clean value "
    "agree, its error weighs most.",
    "eps": "The network says the noise, and the clean value is what is left. In strong noise that divides by a small "
    "a, so its error is blown up there.",
    "v": "The network says v = a eps - sigma x0, a mix that is well scaled at both ends.",
    "velocity": "The network says the speed dx/dt of the path (flow matching). For flow that is noise minus data.",
    "edm": "The network says a correction to the state, scaled so that its target has size 1 at every level (Karras "
    "et al. 2022): its error weighs little near the end.",
    "residual": "The network says y - x0, what the known end has lost or gained against the data.",
}

SAMPLERS: Final[Mapping[str, str]] = {
    "ddim": "DDIM takes one straight step of the path at a time and adds no noise: the start decides the end. Its "
    "error halves when the steps double (order 1).",
    "dpmpp_2m": "DPM-Solver++ 2M remembers the last prediction and bends its step with it: order 2, one call a step.",
    "euler-time": "Euler follows the velocity in the process's own clock: order 1. On a rectified flow that is DDIM; "
    "elsewhere the clock decides how straight its steps are.",
    "dpmpp_2s": "DPM-Solver++ 2S asks again half-way in log-SNR and takes the whole step with what it hears there: "
    "order 2 at two calls, without a history.",
    "dpmpp_3m": "DPM-Solver++ 3M remembers two predictions and bends twice. The plain first step limits it to order 2; "
    "what the longer memory wins shows with many steps.",
    "unipc": "UniPC corrects each step with the prediction that the next one asks for anyway: order 3 at one call.",
    "plms": "PLMS extrapolates the noise from its last four predictions, with the weights of the real steps. It starts "
    "with one plain step, which limits it to order 2.",
    "heun": "Heun asks twice a step and takes the mean of both slopes: order 2 at two calls. Its coordinate is "
    "sigma/a, which runs off where a is nearly 0; there its first step can be far too long.",
    "heun-time": "Heun in the process's own clock: two calls a step, order 2 where the clock is smooth. A table of "
    "levels has a kink at every level, where it falls to order 1.",
    "ddpm": "Every step goes down further than it needs and puts fresh noise back (the DDPM posterior). Paths are "
    "jagged, their law is right to order 1, and mistakes of early steps are shaken off.",
    "euler_ancestral": "An Euler step further down than it needs, then fresh noise. In sigma/a that is the DDPM "
    "posterior: it draws what ddpm draws, under the name that makers of pictures know.",
    "dpmpp_sde": "Fresh noise, and a second question half-way in log-SNR. Both draws of a step come from one path.",
    "dpmpp_3m_sde": "Fresh noise at every step, and a prediction bent by the two before: weak order 2, for many steps.",
    "langevin": "Before every step it walks within the noise level, along the score and with fresh noise, which draws "
    "the states towards the law of that level whatever errors came before. The walk has an error of its own that more "
    "steps do not take away, so it has no order.",
    "dpmpp_2m_sde": "Fresh noise at every step, and a prediction bent by the one before: weak order 2.",
    "resshift": "ResShift's posterior: fresh noise in proportion to how much sigma fell, whatever happens to a.",
    "ddim-half": "DDIM with half of each step's noise replaced by fresh noise, however short the step. It has no "
    "order: more steps mean more noise put in, not a better law.",
    "lcm": "Each step jumps to the believed clean value and noises it again, as consistency models do. With an exact "
    "mean that blurs: the belief is an average of what is possible, and only few steps are meant.",
}

GUIDES: Final[Mapping[str, str]] = {
    "none": "",
    "label": "Classifier-free guidance asks twice, with and without label {label}, and goes {weight:g} times the way "
    "from the one to the other. Weight 1 is the exact conditional law; more pushes samples away from where the "
    "labels overlap and makes them narrower than the law.",
    "dps": "Diffusion posterior sampling: x1 + x2 was measured as {value:g} with a deviation of {noise:g}, and each "
    "step goes down the misfit of the believed clean value, through the network. Treating that belief as certain is an "
    "approximation: the samples come near the exact posterior, they do not meet it.",
    "ddnm": "The believed clean value is projected onto the line x1 + x2 = {value:g} at every step, so the measurement "
    "holds exactly at weight 1. Along the line nothing promises the right law, because the projection ignores how "
    "likely each place is.",
    "known": "The second coordinate is known to be {value:g}: it is written into every state with the noise of that "
    "level, and the first has to fit. Going back up in noise ({repeats} times each stretch) lets the two agree.",
}

REFUSED: Final[Mapping[str, str]] = {
    "needs 'gaussian'": "A step with fresh noise adds Gaussian noise to Gaussian noise. Under heavy tails that sum has "
    "another law, so such a sampler would leave the process.",
    "needs 'true_score'": "This guidance moves the score of the state. Heavy-tailed noise has none.",
    "no noise can be told apart": "Where sigma is 0, a state holds no noise. A sampler that keeps a part of the old "
    "noise has nothing to keep there.",
    "has no finite": "What this head says has to be divided by a number that is 0 at this end, so the clean value "
    "cannot be read from it there.",
    "needs a start with a > 0": "This spacing takes equal steps of sigma/a or its logarithm, and at the noisy end of "
    "this process a is 0: the first step would be infinitely long.",
    "no closed form": "Under Student-t noise the clean value's mean is a weighted mean of points. For a cloud of "
    "Gaussian shape the weights are integrals without a formula, and this laboratory only shows exact answers.",
    "no labels": "A label singles out some parts of the law. One part alone leaves nothing to choose.",
    "no known end": "The residual is measured from the known end y, and this process ends in pure noise instead.",
    "overshoots": "A projection of more than full length leaves the line on the other side, further at every step.",
    "injected fraction": "A step may only take noise away. This sampler measures its fresh noise by sigma alone, "
    "which grows again on a bridge.",
}


def seeing(settings: Experiment) -> list[tuple[str, str]]:
    """(title, sentences) of every choice that has something to say."""
    values = settings.to_json()
    rows = [
        (f"The law: {settings.truth}", TRUTHS[settings.truth]),
        (f"The process: {settings.process}", f"{PROCESSES[settings.process]} {LAWS[settings.law]}".strip()),
        (f"The head: {settings.head}", HEADS[settings.head] + _error(settings)),
        (f"The sampler: {settings.sampler}", SAMPLERS[settings.sampler]),
        (f"The guidance: {settings.guide}", GUIDES[settings.guide]),
    ]
    return [(title, text.format_map(values)) for title, text in rows if text]


def _error(settings: Experiment) -> str:
    if settings.error == 0:
        return ""
    return (
        " Here it errs by {error:.0%} of what it has to say, the same way at the same place, as a trained one does. "
        "More steps then come nearer to what the network believes, not to the truth."
    )


def why(refused: str) -> str:
    """Why a combination cannot work, beside the sentence that says so; empty when there is nothing to add."""
    return next((text for words, text in REFUSED.items() if words in refused), "")
