"""What pyradiomics calls the features of grey-level co-occurrence."""

#: Our names of pyradiomics' features.
OF_PYRADIOMICS = {
    "Autocorrelation": "autocorrelation",
    "ClusterProminence": "cluster_prominence",
    "ClusterShade": "cluster_shade",
    "ClusterTendency": "cluster_tendency",
    "Contrast": "contrast",
    "Correlation": "correlation",
    "DifferenceAverage": "difference_average",
    "DifferenceEntropy": "difference_entropy",
    "DifferenceVariance": "difference_variance",
    "Id": "inverse_difference",
    "Idm": "inverse_difference_moment",
    "Idmn": "inverse_difference_moment_normalised",
    "Idn": "inverse_difference_normalised",
    "Imc1": "imc1",
    "Imc2": "imc2",
    "InverseVariance": "inverse_variance",
    "JointAverage": "joint_average",
    "JointEnergy": "asm",
    "JointEntropy": "joint_entropy",
    "MCC": "mcc",
    "MaximumProbability": "joint_maximum",
    "SumAverage": "sum_average",
    "SumEntropy": "sum_entropy",
    "SumSquares": "joint_variance",
}
