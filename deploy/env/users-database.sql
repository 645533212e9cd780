create database userd owner mediad;
