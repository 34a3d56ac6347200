"""Losses: functions of tensors.

Contrastive losses return one value for each sample, regularisers one for the batch.
"""
