"""Medical imaging: scans in and out, phantoms with exact truth, a three-plane view.

Research use only. Not a medical device. Not for diagnosis or treatment.
"""
