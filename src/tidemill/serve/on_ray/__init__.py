"""What runs replicas: Ray Serve and its ingress, starting, ports, scaling and the first answer."""
