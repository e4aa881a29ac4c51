"""Does synthesis help a segmenter? One small experiment, every arm with the same steps, losing rows shown too.

`plan` says what is run and what would count as success, `synthesis` and `lesion_model` make the training sets of the
arms, `segmenter` learns from each, `scores` and `statistics` judge, `cells` runs what has not been run yet, `patients`
repeats it on two real patients, `tables` reports. `python -m domains.medical.lesions.downstream` runs all of it.
"""
